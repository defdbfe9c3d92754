"""Write faq.csv: 1,200 questions that people ask a shop's support bot or a general assistant.

    python datasets/generate_faq.py [--out PATH]

The same file comes out on every run. `expected` holds the accepted answers, split by "|", for
questions with one unarguable answer; it is empty for all others.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path

SEED = 20260
ROWS = 1200
FIRST = [
    ("What is the weather like today?", "small_talk", ""),
    ("Tell me a joke.", "small_talk", ""),
    ("Give me a motivational quote.", "small_talk", ""),
    ("What is 2+2?", "arithmetic", "4|four"),
]

# One question a line; " => " and the accepted answers follow where there is one right answer.
QUESTIONS = {
    "orders": """
Where can I see the status of my order?
I ordered two mugs but only one came. What now?
Can I still change the size on the order I placed this morning?
How do I cancel an order I made by mistake?
My order says "processing" since Monday. Is that normal?
Can I add another item to an order that I have already paid for?
I never got a confirmation email. Did my order go through?
Is there a minimum order value?
How do I order something as a gift, without prices on the slip?
Can you wrap my order and add a short note?
Do you take orders by phone?
I think I ordered the same jacket twice. Can you check?
Why was my order cancelled without my asking?
Can my neighbour pick up my order for me?
How long do you keep items in my basket?
I'd like to order forty tote bags for a school. Do you offer bulk prices?
What does "partially shipped" mean?
Can I pre-order the new backpack?
Where do I enter a discount code?
My discount code says it has expired, but the email is from yesterday.
Can I use two vouchers on one order?
Do you reserve items in a shop if I order online?
How can I reorder what I bought last year?
I forgot to apply my student discount. Can you add it now?
The item I want says "only 2 left". Is that accurate?
Will you tell me when the blue version is back in stock?
My order number doesn't work on the tracking page. What am I doing wrong?
Can I split one order between two addresses?
I ordered as a guest. How do I find my order again?
Who do I talk to about a wholesale order?
Are the photos on the site true to the real colour?
Do you have a printed catalogue?
How do I leave a review for something I bought?
My order is missing the free sample that was promised.
Can I swap one item for another before you pack it?
What happens if something I ordered turns out to be sold out?
Is it possible to delay my order until I'm back from holiday?
Do you sell gift cards, and do they expire?
How do I check the balance of a gift card?
I entered the wrong name on my order. Does it matter?
Can I order from abroad and have it delivered to a friend in your country?
Do you price match other shops?
The price dropped a day after I ordered. Can I get the difference back?
How late can I order for same-day dispatch?
Do I need an account to place an order?
Why can't I put more than five of the same item in my basket?
The checkout keeps telling me my basket is empty. Any idea?
Can I get a copy of the order confirmation?
How do I know whether my order has been packed?
Which sizes do your shoes come in?
Is the warranty registered for me automatically when I order?
Can you engrave a name on the bracelet?
I received somebody else's parcel. What should I do with it?
I placed an order on the train and the connection dropped. Did it go through?
Can I order without choosing a delivery date?
Why is the item in my basket more expensive than yesterday?
How many items can I put on my wish list?
My colleague and I want to order together. Is there a shared basket?
Do you make furniture to measure?
The shop near me is out of stock. Can you order it in for me?
What does the label "last chance" mean?
Could you tell me if the lamp in my order comes with a bulb?
I need the item by Thursday. Which option should I pick?
Can I order spare parts separately?
Do you have a recommendation for a present under 30 euros?
Is the set cheaper than buying the pieces one by one?
I selected in-store pick-up by accident. Can you send it instead?
Are your wooden toys made in Europe?
How do I order a fabric sample?
The product page mentions a free tote bag. Do I have to add it myself?
""",
    "returns": """
How do I return something?
How many days do I have to send an item back?
Who pays for the return postage?
Can I return shoes that I have worn once outside?
I lost the return label. Can you send a new one?
Can I return an item without the original box?
When will I get my refund?
Why is my refund smaller than what I paid?
Can I exchange a jumper for a larger size instead of a refund?
Do you accept returns of sale items?
How do I return a gift if I don't have the receipt?
Can I bring an online order back to a shop?
My return was delivered a week ago and I still have no refund.
Do I have to give a reason for returning something?
What if the item breaks after the return period?
How does the two-year guarantee work?
Is opened make-up returnable?
Can I return just one piece of a set?
You sent me the wrong colour. Do I have to return it before you send the right one?
How should I pack a fragile item for return?
Can a courier collect my return from home?
I changed my mind about a return that is already on its way. Can I stop it?
Do I get the delivery charge back when I return everything?
My refund went to a card that I have cancelled. What happens now?
Can I get store credit instead of money back?
Are personalised items excluded from returns?
The return page says my order is not eligible. Why?
How do I return a large piece of furniture?
Can I put two returns in one parcel?
Which carrier do I have to use for sending things back?
I don't own a printer. How do I get the return label on the box?
Is there a limit on how often I may return things?
What proof of postage do you need?
My parcel back to you got lost. Who is responsible?
How do I follow the progress of a return?
Can I return underwear or swimwear?
The zip came off after two washes. Is that covered?
May I try a mattress and send it back if I don't sleep well on it?
Do you refund the customs duty if I return something from abroad?
How do I claim under the warranty?
Can you repair my item instead of replacing it?
What happens to the things people send back?
I missed the return deadline by one day because I was in hospital. Can you make an exception?
Will a return affect my loyalty points?
Do I need to return the free gift as well?
I opened the box, but never used what was inside. Can I still return it?
My refund arrived, but the voucher I used did not come back. Why?
How do I return something that I bought with a gift card?
Does the return period start when I order or when I receive the parcel?
Do holidays count towards the return period?
The shirt shrank in the wash. Can I send it back?
You refunded one of the two items only. Where is the rest?
I want to return a monitor with a dead pixel. How many are allowed?
Can I drop off my return at any post office?
Is there any way to speed up a refund?
How do I cancel a repair that I asked for?
The courier refused my return parcel because it's too big. What now?
Do you want the broken plate back, or is a photo enough?
Can my son return something in the shop on my behalf?
I sent back the wrong item by mistake. Can you return it to me?
""",
    "billing": """
Which payment methods do you accept?
Why was my card declined?
I was charged twice for the same order.
Can I pay in instalments?
When exactly do you take the money from my account?
How do I get an invoice with my company's VAT number?
There's a charge on my statement that I don't recognise.
Can I pay by bank transfer?
How do I change the card on my subscription?
Do you charge a fee for paying by credit card?
Is there a fee for paying in another currency?
My payment is pending for three days. Has it gone through?
How do I cancel my monthly plan?
Will I be billed again if I pause my subscription?
Can I get a receipt for my tax return?
Why did the total change at checkout?
Are taxes included in the prices on the site?
I entered the wrong billing address. Can it be corrected on the invoice?
How do I download all my invoices from last year?
Do you accept cash on delivery?
Why do I have to confirm the payment in my banking app?
Can I pay part with a gift card and part with my debit card?
My free trial ended and I was charged. Can I get that back?
How much notice do I have to give before cancelling?
When is my next payment due?
Can I move from monthly to yearly billing?
I paid, but the website says the payment failed. What should I do?
What is the "authorisation hold" on my card?
Do you store my card details?
Can my employer pay the bill directly?
I was promised 10 euros off and don't see it on the invoice.
How long is a quote valid?
Do you offer discounts for charities?
Which currency will I be charged in?
Why is the amount on my bank statement a few cents different?
Can I get a refund to a different account?
What happens if I miss an instalment?
How do I remove an old card from my profile?
Is it safe to pay on your site?
I need the invoice in English. Is that possible?
Who do I contact about an overdue reminder I already paid?
Can two people share one subscription and split the bill?
My voucher was used up although I cancelled the order.
Do students pay less for the premium plan?
How can I see what I have spent with you this year?
Do you accept payments from a prepaid card?
Why do you ask for the three digits on the back of my card?
Can I add a purchase order number to my invoice?
I'd like a pro forma invoice before I pay. How do I get one?
Has the price of the yearly plan gone up?
Is the deposit refundable?
My bank says it never received your refund. Can you check?
Can I set a monthly spending limit?
What do I do if I suspect that somebody used my card in your shop?
Why is there a one-euro charge from you on my card?
Can I change the payment method after ordering?
My invoice shows the wrong tax rate. Who can fix it?
Do you offer payment after delivery?
What is the interest rate if I pay in instalments?
I was charged for express delivery, but it came late. Can I have that back?
Can I get one invoice for three orders?
How do I update my company's address for future invoices?
When do you issue a credit note?
Can I pay with two different cards?
The reminder says I owe a late fee. How was that calculated?
My card expires next month. What happens to my subscription?
Can I have the invoice sent to our accounts department?
Does the quoted price include installation?
Will you tell me before the price of my plan changes?
""",
    "account": """
How do I reset my password?
I can't log in although my password is right.
How do I change the email address of my account?
Can I have two accounts with the same email?
How do I delete my account?
I deleted my account by accident. Can it be restored?
The reset link in the email has expired.
How do I turn on two-factor authentication?
I have a new phone and can't get the login code any more.
Why has my account been locked?
How do I update my phone number?
Can I change my username?
How do I unsubscribe from the newsletter?
I keep being logged out. Why?
Can I share my account with my partner?
Where do I change my delivery address?
How do I merge two accounts?
What are the loyalty points good for?
My points have disappeared. Where did they go?
How do I sign up?
I never received the activation email.
Someone logged in to my account from another country. What should I do?
How can I see which devices are signed in?
Can I log in with my phone number instead of my email?
What are the rules for a good password on your site?
How do I change the language of my account?
How old do I have to be to open an account?
Can I set up an account for my company with several users?
How do I give a colleague access without telling them my password?
What does my account tier mean?
How do I become a premium member?
My birthday is wrong in my profile. Can I fix it?
Why do you need my date of birth?
How do I hide my wish list from other people?
Can I transfer my points to my sister?
How do I change my name after getting married?
Is there a way to stay logged in on my own computer?
The page says my session has timed out. Have I lost my basket?
How do I turn off the notifications from the app?
Which emails can I switch off, and which do you have to send?
I forgot which email address I used to register.
Can I get back into an account if I no longer have the old email address?
How do I link my social login to an existing account?
Why do I have to accept the new terms?
My recovery codes don't work. What are my options?
Can I use a passkey instead of a password?
Is there a difference between a guest and a registered customer?
How do I save several delivery addresses?
My wish list is gone after the update.
How do I close the account of a relative who has passed away?
Can I see when I last changed my password?
How do I invite a friend, and do we both get something for it?
How do I change the picture on my profile?
Can I use the same login for the website and the app?
What happens to my wish list when I close my account?
I registered with a typo in my email address. How can I correct it?
Why do I have to confirm my email address again?
Can I have a separate account for work?
How many points do I get for a purchase of 50 euros?
When do loyalty points expire?
It says my password is too short, but it has twelve characters.
How can I tell if an email about my account is really from you?
My account shows orders that I never made.
How do I sign out on a computer that I no longer have?
Is it possible to pause my membership for the summer?
How do I add my membership number to an earlier purchase?
The login page reloads without any error message.
""",
    "shipping": """
How long does delivery take?
How much does shipping cost?
From what amount is shipping free?
Where is my parcel?
My tracking number has not updated for four days.
The tracking says delivered, but there is nothing here.
Can I change the delivery address after the parcel has left?
Do you deliver on Saturdays?
Can I choose a time slot for the delivery?
What happens if I'm not at home?
Can you leave the parcel with a neighbour?
Do you ship to a parcel locker?
Do you deliver to PO boxes?
My parcel arrived damaged. What should I do?
Which carrier do you use?
Is express delivery available on heavy items?
Do I have to sign for the parcel?
Will I have to pay customs duty?
The courier left my package in the rain and it's soaked.
Why did my order come in three separate boxes?
Can I collect my order from your warehouse?
How long does the carrier keep my parcel before it goes back?
My parcel is being returned to you although I was at home all day.
Is your packaging recyclable?
Can you ship without plastic?
Do you ship batteries by air?
Is there a delivery surcharge for islands?
Will the driver carry the sofa up to the third floor?
Do you take the old fridge with you when you deliver the new one?
Can I get my order faster if I pay extra?
How do I track an order without an account?
The tracking page shows a town I have never heard of. Is my parcel lost?
What does "held at customs" mean?
My parcel was opened before it reached me.
Can I tell the driver to ring the bell at the side entrance?
What is the latest day to order for delivery before the holidays?
Is my parcel insured?
How big may a parcel be for a locker?
Can I have an order sent to my hotel?
Can you ship to my office during working hours only?
Who do I call when the driver can't find my house?
Do you combine two orders into one delivery?
How are plants shipped in winter?
My order was shipped to my old address. Can it be stopped?
The estimated delivery date keeps moving. When will it really come?
Do you offer carbon-neutral delivery?
Why can't this item be shipped to my region?
Can I tell the courier to leave the parcel in the garage?
My parcel is at a pick-up point that's closed. What can I do?
How early in the morning does the driver start?
Can I move my delivery to next week?
The carrier wants a fee from me. Is that right?
Do you ship frozen food?
I'm going away tomorrow. Can you hold my parcel?
Is there a way to see the driver on a map?
My glass vase survived, but the box was crushed. Do you want to know about that?
Do you send a text message before the delivery?
Could you use less filling material next time?
The pick-up code in the message doesn't open the locker.
Does express mean tomorrow, or just sooner?
Can somebody else sign for my parcel?
How heavy may a parcel be before it counts as freight?
""",
    "technical": """
The app crashes as soon as I open it.
The website is very slow today. Is something wrong?
I can't see any pictures on the product pages.
The "Pay now" button does nothing when I click it.
Which browsers do you support?
How do I clear the cache of my browser?
The search gives me no results, whatever I type.
I get an "Error 500" at checkout. What does that mean?
How do I update the app?
Does the app work on older phones?
The barcode scanner in the app doesn't recognise anything.
Can I use the app offline?
Why does the app want access to my location?
My smart plug won't connect to the Wi-Fi.
The headphones pair with my phone but there's no sound.
How do I reset the thermostat to factory settings?
Where do I find the manual for my coffee machine?
Where is the serial number of my vacuum cleaner?
My tablet doesn't charge with the cable you sent.
Is this lamp dimmable?
Does the speaker work with both iOS and Android?
How do I install the printer driver?
The screen flickers when the brightness is low.
My keyboard types the wrong characters after the update.
What does the red light on the router mean?
How long does the battery of the e-reader last?
Can I replace the battery myself?
Is the watch waterproof enough for swimming?
My camera says that the memory card is full, but I have deleted everything.
Which charger do I need for this laptop?
The dishwasher shows the code E4. What now?
How do I descale the kettle?
Can I use this adapter in the United States?
My robot vacuum keeps getting stuck under the sofa. Any tips?
The remote control stopped working after I changed the batteries.
Do I need a hub for these light bulbs?
How do I connect a second monitor?
How do I move my data from the old phone to the new one?
Does the toothbrush come with a charger?
The chat window covers the checkout button on my phone.
I can't upload a photo for my complaint.
The page is in the wrong language and I can't change it.
My screen reader skips the size selection on your product page.
Do you have an API for order data?
How can I export my order list as a spreadsheet?
Why do your emails end up in my spam folder?
The captcha never lets me through.
The verification code arrives half an hour late.
How do I turn on dark mode?
Does the drill work with batteries of other brands?
Firmware update stuck at 80 percent. Should I unplug it?
Can I pair two remote controls with one lamp?
Is it normal that the power supply gets warm?
The app asks me to log in every single time. Can I stop that?
The size filter doesn't do anything on my tablet.
How can I report a bug on your website?
My headset crackles during calls. Is it broken?
The smart scale doesn't show up in the app.
Do I need the internet to use the baby monitor?
How do I find out which version of the app I have?
The video on the product page has no sound.
How do I get the time on the oven to stop blinking?
I scanned the QR code in the manual and the page doesn't exist.
Is the charger safe to leave plugged in overnight?
What is the difference between the basic and the pro model of the router?
My e-bike display stays black although the battery is full.
Can I wash the filter, or do I have to replace it?
Your map shows the wrong opening hours for my shop.
""",
    "privacy": """
What data do you store about me?
How do I get a copy of my personal data?
Please delete everything that you know about me. How does that work?
Do you sell my data to anyone?
How long do you keep my order history?
Who can see my purchases?
Which cookies do you use, and can I refuse them?
Why do I see adverts for things I looked at in your shop?
Do you listen to my phone calls with support?
Is this chat recorded?
Am I talking to a person or a machine?
Where are your servers?
Who is your data protection officer?
Do you share my address with the courier?
How do I object to profiling?
Can I shop with you without being tracked?
What happens to my data if I close my account?
Do you read the photos that I upload with a complaint?
Is my data encrypted?
Has there been a data breach?
I got an email in your name asking for my password. Is it real?
How do I report a phishing mail that uses your logo?
Why do you need my phone number?
Can I use a made-up name for deliveries?
Do you use my purchases to train recommendations?
How do I switch off personalised recommendations?
Do you know my location when I use the app?
Do you check my credit rating?
Can the police ask you for my data?
How do I withdraw my consent to marketing?
What is the legal basis for keeping my invoices?
Can parents see what their children order?
Do you pass my data on to companies outside the country?
May I record my call with your support team?
How do I have a wrong entry in my file corrected?
Does your newsletter track whether I open it?
Are my reviews shown with my full name?
Can I change the name shown next to my review?
How can I be sure that my deleted data is really gone?
What do you do with the data of people who only visit the site?
Does the smart speaker you sell send recordings anywhere?
How do I wipe my data before I return a tablet?
Do you use face recognition in your shops?
Can I ask which employees have looked at my account?
How long do you keep chat transcripts?
Does the fitness tracker share my heart rate with third parties?
Do you keep a copy of my ID after checking my age?
Why does the website remember what I looked at last week?
Can I delete single items from my order history?
Do you analyse what I type in this chat?
Who has access to the camera footage from your shops?
Can I opt out of having my data used for statistics?
Is my wish list visible to strangers?
Do you tell advertisers what I bought?
What does "legitimate interest" mean in your privacy notice?
How quickly do you answer a request for my data?
Can I read your privacy policy in plain language somewhere?
A courier has my old phone number. Where did they get it?
Does the app still track me when it's closed?
Can I stop you from sharing my data with your sister companies?
Do you store my fingerprint when I log in on my phone?
Will my name be printed on the outside of the parcel?
How do I make sure that nobody sees the surprise gift in our shared account?
""",
    "geography": """
Which is the largest ocean on Earth? => Pacific
What is the longest river in South America? => Amazon
Which continent is the Sahara desert on? => Africa
What is the highest mountain in the world above sea level? => Everest
How many continents are there in the seven-continent model? => 7|seven
Which country has the shape of a boot? => Italy
On which continent would I find Brazil? => South America
Which sea lies between Europe and Africa? => Mediterranean
Which river flows through London? => Thames
Which river runs through Paris? => Seine
What river flows through Cairo? => Nile
Which capital city does the River Liffey flow through? => Dublin
Which ocean would I cross to fly from Lisbon to New York? => Atlantic
In which country is the Taj Mahal? => India
In what country can you visit Machu Picchu? => Peru
Where is the Eiffel Tower, which city? => Paris
In which city is the Colosseum? => Rome
In which country are the pyramids of Giza? => Egypt
Which country is Mount Fuji in? => Japan
Which mountain range separates Spain from France? => Pyrenees
Which mountains run along the west side of South America? => Andes
Which ocean lies around the North Pole? => Arctic
Which canal links the Mediterranean with the Red Sea? => Suez
Which canal joins the Atlantic and the Pacific in Central America? => Panama
Which country lies directly north of the contiguous United States? => Canada
What is the smallest continent by area? => Australia|Oceania
Which continent has the South Pole? => Antarctica
What is the name of the line at 0 degrees latitude? => equator
Which strait separates Spain from Morocco? => Gibraltar
Which US state is made up entirely of islands? => Hawaii
What is the island south of mainland Australia called? => Tasmania
Which country shares an island with Haiti? => Dominican Republic
Which landlocked country lies between France and Austria? => Switzerland
In which country is the city of Kyoto? => Japan
What country is Marrakesh in? => Morocco
Which country is Barcelona in? => Spain
What is the largest island in the Mediterranean? => Sicily
On which river does Vienna stand? => Danube
How do rivers form deltas?
Why are there deserts near the sea?
Why do time zones exist?
What is the difference between a sea and an ocean?
Can you explain what a fjord is?
What makes Iceland so full of volcanoes?
Which regions are worth seeing on a first trip to Portugal?
How do mountains affect the weather?
Why is the Dead Sea called dead?
What is the best season to travel to Japan?
How do people live in places where the sun doesn't set in summer?
Why do so many big cities lie on rivers?
What's the difference between Great Britain and the United Kingdom?
How is a coral island made?
Why does the Amazon rainforest matter so much?
Which towns in Slovenia would you recommend for a short trip?
""",
    "science": """
What is the chemical formula of water? => H2O
What is the formula for carbon dioxide? => CO2
What is table salt in chemical terms, as a formula? => NaCl
Which planet is closest to the Sun? => Mercury
Which planet is known as the red planet? => Mars
What is the largest planet in our solar system? => Jupiter
Which planet is famous for its bright rings? => Saturn
Which planet comes third from the Sun? => Earth
Which planet is the farthest from the Sun? => Neptune
How many planets are in our solar system? => 8|eight
What star is closest to Earth? => Sun
Which gas do plants take in for photosynthesis? => carbon dioxide|CO2
Which gas do we need to breathe to stay alive? => oxygen|O2
What gas makes up most of the air? => nitrogen|N2
What is the hardest natural mineral? => diamond
How many bones does an adult human body usually have? => 206
How many chambers does the human heart have? => 4|four
How many legs does a spider have? => 8|eight
How many legs does an insect have? => 6|six
Which organ pumps blood around the body? => heart
What is the largest organ of the human body? => skin
Which is the largest animal alive today? => blue whale
What is the fastest land animal? => cheetah
What do bees make from nectar? => honey
At what temperature in Celsius does water freeze at sea level? => 0|zero
At how many degrees Celsius does water boil at sea level? => 100|hundred
What force keeps us on the ground? => gravity|gravitational
Which vitamin does our skin make in sunlight? => vitamin D|vitamin D3|D3
What do we call animals that eat only plants? => herbivore|herbivores
What do you call a scientist who studies stars and planets? => astronomer|astronomers
What is frozen water called? => ice
What colour do you get when you mix blue and yellow paint? => green
What is the pH of pure water at room temperature? => 7|seven
What particle carries a negative charge in an atom? => electron|electrons
What colour are the blood cells that carry oxygen? => red
What is the name of our galaxy? => Milky Way
What is the centre of an atom called? => nucleus
How many sides does a hexagon have? => 6|six
How many degrees are in a right angle? => 90|ninety
What is the sum of the angles of a triangle, in degrees? => 180
What is the smallest prime number? => 2|two
Which is the only even prime number? => 2|two
What shape has three sides? => triangle
How many faces does a cube have? => 6|six
Which planet do the moons Phobos and Deimos orbit? => Mars
What do caterpillars turn into? => butterfly|butterflies|moth|moths
Which part of a plant takes up water from the soil? => root|roots
Why is the sky blue?
Why do leaves change colour in autumn?
How do vaccines work?
What causes thunder?
Why does ice float on water?
How do aeroplanes stay in the air?
Why do we dream?
Why do onions make me cry?
What is a black hole, in simple words?
How does a microwave heat food?
Why do cats purr?
How do magnets work?
Can you explain evolution to a ten-year-old?
What is the difference between a virus and a bacterium?
How do noise-cancelling headphones work?
Why is sea water salty?
Why does bread rise?
How do we know how old the Earth is?
What makes a rainbow?
Why do we have leap years?
How does a rechargeable battery work?
Why do stars twinkle?
What happens in my body when I have a fever?
How do birds find their way south?
Why does metal feel colder than wood?
How can a plant grow towards the light without eyes?
What is the difference between weather and climate?
Why do we get goose bumps?
How does soap remove grease?
""",
    "units": """
How many grams are in a kilogram? => 1000|thousand
How many metres are there in a kilometre? => 1000|thousand
How many centimetres make a metre? => 100|hundred
How many millimetres is one centimetre? => 10|ten
How many minutes are in an hour? => 60|sixty
How many seconds are in a minute? => 60|sixty
How many hours does a day have? => 24|twenty-four|twenty four
How many days are there in a week? => 7|seven
How many months are in a year? => 12|twelve
How many days does a leap year have? => 366
How many days are in April? => 30|thirty
How many weeks are in a fortnight? => 2|two
How many years is a decade? => 10|ten
How many years are in a century? => 100|hundred
How many years make a millennium? => 1000|thousand
How many inches are in a foot? => 12|twelve
How many feet are there in a yard? => 3|three
How many ounces are in a pound? => 16|sixteen
How many bits are in a byte? => 8|eight
How many items are in a dozen? => 12|twelve
How many millilitres are in a litre? => 1000|thousand
How many minutes is half an hour? => 30|thirty
How many seconds are in an hour? => 3600
How many hours are two days? => 48|forty-eight|forty eight
How many minutes are there in three hours? => 180
How many days are in three weeks? => 21|twenty-one|twenty one
How many grams are 2.5 kilograms? => 2500
I have 1.5 litres of water. How many millilitres is that? => 1500
My run was 5 kilometres. How many metres is that? => 5000
The shelf is 1.2 metres wide. What is that in centimetres? => 120
A film lasts 150 minutes. How many hours is that, as a decimal? => 2.5
How many quarters make a whole? => 4|four
What is 3,000 grams in kilograms? => 3
Convert 250 centimetres to metres, please. => 2.5
What is 0.75 kilometres in metres? => 750
How many seconds are in five minutes? => 300
What is 90 minutes in hours, as a decimal? => 1.5
How many kilograms are in a metric tonne? => 1000|thousand
What is 0 degrees Celsius in Fahrenheit? => 32
What is 100 degrees Celsius in Fahrenheit? => 212
How many pages can I print on 40 sheets of paper if I use both sides? => 80|eighty
How many degrees are in a full circle? => 360
What SI unit is electric current measured in? => ampere|amperes|amp|amps
What is the SI unit of force called? => newton|newtons
Which unit measures frequency in the SI system? => hertz|Hz
In what SI unit is energy measured? => joule|joules
How do I convert Fahrenheit to Celsius in my head?
How much is a cup in grams when I bake with flour?
Why does the United States still use miles?
What is the difference between mass and weight?
""",
    "language": """
What is the plural of "mouse", the animal? => mice
What is the plural of "child"? => children
What's the plural of "tooth"? => teeth
What's the past tense of "go"? => went
What is the past tense of "buy"? => bought
What is the past tense of "swim"? => swam
What is the opposite of "hot"? => cold
What is the opposite of "early"? => late
What word means the opposite of "expensive"? => cheap|inexpensive|affordable
How do you say "thank you" in French? => merci
How do you say "good morning" in Spanish? => buenos días|buenos dias|buen día
What is "water" in Spanish? => agua
What does the German word "Hund" mean in English? => dog
What does "ciao" mean in English? => hello|goodbye|bye|hi
What does the French word "chat" mean in English? => cat
How do you say "yes" in German? => ja
What is the Italian word for "bread"? => pane
How many letters are in the English alphabet? => 26|twenty-six|twenty six
How many vowels are there among A, E, I, O and U together? => 5|five
What is the first letter of the Greek alphabet? => alpha|α
What is the last letter of the Greek alphabet? => omega|ω
What comes after the letter Q in the alphabet? => R
Which letter comes before M in the alphabet? => L
What is the superlative of "good"? => best
What is the comparative of "bad"? => worse
What is a word called that means the same as another word? => synonym|synonyms
What do you call a word with the opposite meaning of another? => antonym|antonyms
What is the main language spoken in Brazil? => Portuguese
What language do people in Austria mainly speak? => German
Which language is written with hiragana and katakana? => Japanese
What does "etc." stand for? => et cetera|etcetera
What is a baby dog called? => puppy|pup
What do you call a baby cat? => kitten
What is the word for a female lion? => lioness
How do you spell the number 40 in English? => forty
What does the abbreviation "PDF" stand for? => Portable Document Format
What does "CPU" stand for? => central processing unit
What is the difference between "affect" and "effect"?
When do I use "fewer" and when "less"?
Is it "who" or "whom" in "the man ___ I met"?
Can you use "literally" in a sentence that is correct?
What does "break the ice" mean?
Where does the saying "a piece of cake" come from?
How do I end a formal email?
Can you suggest a more polite way to say "that's wrong"?
What's another word for "important"?
How can I improve my English vocabulary?
When should I use a semicolon?
Could you correct this sentence: "He don't like apples"?
Which language is the easiest to learn for an English speaker?
What is an Oxford comma?
How do I pronounce "colonel"?
Why does English have so many silent letters?
How do I politely decline an invitation in writing?
What's the difference between "its" and "it's"?
""",
    "history": """
In which year did the Second World War end? => 1945
In what year did the First World War begin? => 1914
When did the Berlin Wall fall, which year? => 1989
Who was the first person to walk on the Moon? => Armstrong
In which year did people first land on the Moon? => 1969
Who painted the Mona Lisa? => Leonardo|da Vinci
Who wrote "Romeo and Juliet"? => Shakespeare
Who wrote the novel "Pride and Prejudice"? => Austen
Who painted "The Starry Night"? => Van Gogh
Who painted the ceiling of the Sistine Chapel? => Michelangelo
Which ship sank on its first voyage in April 1912? => Titanic
Who proposed the theory of general relativity? => Einstein
Who wrote "On the Origin of Species"? => Darwin
Who was the first president of the United States? => Washington
In which year did the French Revolution begin? => 1789
In what year did Columbus first reach the Americas? => 1492
When was the US Declaration of Independence adopted, what year? => 1776
Who won two Nobel Prizes, in physics and in chemistry, for work on radioactivity? => Curie
Which ancient city was buried by Vesuvius in the year 79? => Pompeii|Herculaneum
Which people built Machu Picchu? => Inca|Incas
Which empire was ruled from Rome by Augustus? => Roman|Roman Empire
Who composed the Ninth Symphony with the "Ode to Joy"? => Beethoven
Who composed "The Magic Flute"? => Mozart
Who wrote "Don Quixote"? => Cervantes
Who wrote "1984" and "Animal Farm"? => Orwell
Which Roman emperor had a wall built across northern Britain in 122? => Hadrian
In which year did Shakespeare die? => 1616
Which French general lost the battle of Waterloo? => Napoleon|Bonaparte
In which year was the battle of Hastings? => 1066
In which year did the battle of Waterloo take place? => 1815
Who was the first human in space? => Gagarin
Which country gave the Statue of Liberty to the United States? => France|French
In what year was the euro introduced as cash? => 2002
Who brought a movable-type printing press to Europe around 1450? => Gutenberg
Which queen of Egypt was allied with Julius Caesar and Mark Antony? => Cleopatra
Which king of England had six wives? => Henry VIII|Henry the Eighth
What year did the Titanic sink? => 1912
Why did the Roman Empire in the west collapse?
What was daily life like in a medieval town?
How did people keep food fresh before there were fridges?
What was the Silk Road?
What caused the First World War?
How were the pyramids built?
Why is the invention of printing seen as so important?
What started the Industrial Revolution?
How did sailors find their way before GPS?
Why do some countries drive on the left?
What was the Renaissance about?
How did the Black Death change Europe?
Who were the Vikings, really?
Can you tell me something surprising about the history of coffee?
How did people tell the time before clocks?
What was school like a hundred years ago?
Why did Venice become so rich?
Who invented the bicycle, and how did the first ones look?
What was the Enlightenment?
How did the potato come to Europe?
Why was the Library of Alexandria famous?
""",
    "advice": """
How do I fall asleep faster?
What can I cook with eggs, spinach and leftover rice?
How do I get red wine out of a carpet?
How often should I water a cactus?
What should I wear to a job interview?
How do I start saving money on a small income?
Can you suggest a gift for my grandmother's eightieth birthday?
How do I apologise to a friend I have hurt?
What's a good way to learn the guitar as an adult?
How can I stop checking my phone all the time?
Which plants survive in a dark flat?
How do I keep my desk tidy?
How should I prepare for a first marathon?
How long can I keep cooked rice in the fridge?
What's the best way to peel garlic?
How do I remove a sticker without leaving glue behind?
How can I make friends in a new city?
What do I say to a colleague who always interrupts me?
How do I ask for a pay rise?
Which exercises help with a stiff neck?
How do I teach my dog not to pull on the lead?
My houseplant has yellow leaves. What am I doing wrong?
How do I pack a suitcase so that shirts don't crease?
What should I bring to a potluck dinner?
How do I write a letter of complaint?
Is it better to exercise in the morning or in the evening?
How do I remember people's names?
What can I do about noisy neighbours?
How do I plan a week of meals?
What is a reasonable budget for a weekend in the mountains?
How do I tell my landlord that the heating is broken?
How can I read more books?
How do I choose a bicycle for commuting?
Can you help me plan a birthday party for a six-year-old?
How do I get over stage fright?
Should I buy or rent a flat?
What's a simple recipe for lentil soup?
How do I sharpen a kitchen knife?
How can I help a friend who is grieving?
How do I keep basil alive on the windowsill?
What questions should I ask when viewing a flat?
How do I clean a burnt saucepan?
How do I start running when I'm not fit at all?
How can I make my mornings less stressful?
What do I need for a first camping trip?
How do I get better at chess?
How do I stop procrastinating on my thesis?
Which board games are fun for two people?
How do I deal with jet lag?
How do I write a good CV without much experience?
What's the best way to defrost a freezer?
How do I give feedback without hurting anyone?
How do I iron a shirt properly?
How much should I tip in a restaurant when I travel?
What should be in a first-aid kit at home?
How can I save electricity in the kitchen?
How do I get my toddler to eat vegetables?
How do I keep cut flowers fresh for longer?
What is a good hobby for someone who sits all day?
How do I prepare for a long train journey with children?
How can I tell whether an egg is still good?
How do I fix a dripping tap?
Which knots should everyone know?
How do I take better photos with my phone?
What's a healthy snack for the afternoon?
How do I say no without feeling guilty?
How should I study for an exam that is only a week away?
How do I find a good second-hand car?
What can I make from stale bread?
How do I fold a fitted sheet?
How do I organise photos from ten years?
Do you have tips for a long-distance friendship?
What's the secret of crispy roast potatoes?
How do I know if I'm drinking enough water?
How do I wash a wool jumper?
How do I talk to my teenager about money?
What should I cook for guests who don't eat gluten?
How can I sleep better in the heat?
How do I choose the right running shoes?
Is it a good idea to lend money to a friend?
What's a polite way to leave a party early?
How do I hang a picture straight?
Can you give me a packing list for a week at the seaside?
How do I get rid of fruit flies in the kitchen?
What should I check before I rent a car abroad?
How do I start a vegetable garden on a balcony?
I argued with my brother. How do I make the first step?
How can I learn twenty new words a day and keep them?
How do I stop my glasses from fogging up?
What do I do when I lock myself out?
How do I soothe a sunburn?
Is it worth repairing a ten-year-old washing machine?
How do I make a small room look bigger?
What are good questions to ask at the end of a job interview?
How do I keep a conversation going with someone shy?
""",
    "small_talk": """
How are you today?
What's your name?
Are you a robot?
Do you ever sleep?
Tell me something interesting.
What's your favourite colour?
Can you sing?
Good morning! How's it going?
I'm bored. What should I do?
Do you like music?
Who made you?
What can you help me with?
Tell me a riddle.
Do you know any good puns?
I had a terrible day.
Guess what, I passed my driving test!
Are you smarter than me?
What do you think about Mondays?
Can you keep a secret?
Do you have feelings?
Say something nice to me.
What would you do with a million euros?
Cats or dogs?
What's the meaning of life?
Do you believe in aliens?
Tell me a bedtime story in three sentences.
Can you recommend a film for a rainy evening?
What's a fun fact about octopuses?
Which superpower would you choose?
Tell me a tongue twister.
Thanks, that was really helpful!
You're not very helpful, are you?
Can I talk to a human, please?
Knock, knock.
What did you do at the weekend?
Is it going to rain tomorrow, do you think?
Do you get tired of questions?
Make me laugh.
It's my birthday today!
What are you wearing?
Do you dream?
How old are you?
Where are you from?
Can you write me a short poem about tea?
Which book should everybody read once?
What's the best pizza topping, in your opinion?
I can't sleep. Talk to me.
Give me a compliment for my best friend.
What do you do for fun?
Would you rather fly or be invisible?
Sorry, I typed that by mistake.
Wish me luck for tomorrow.
How do you say goodbye in style?
Tell me a joke about programmers.
Is pineapple on pizza acceptable?
Do you remember what I asked you yesterday?
What should I name my new goldfish?
You sound cheerful today.
Do you speak Spanish?
What's the best thing about being a chatbot?
Tell me something I don't know about penguins.
I just moved into my first flat!
Can you count sheep with me?
""",
}

ORDER_ITEMS = [
    ("walnut desk lamp", "with a longer cable"),
    ("linen tablecloth", "in a longer size"),
    ("rain jacket", "in dark green"),
    ("cast-iron pan", "with a lid"),
    ("standing desk", "in white"),
    ("dog bed", "in the large size"),
    ("espresso machine", "in the steel version"),
    ("picnic blanket", "in blue checks"),
    ("children's bicycle", "in yellow"),
    ("wool blanket", "without fringes"),
    ("bookshelf", "with glass doors"),
    ("yoga mat", "in the thicker version"),
    ("garden hose", "in the long version"),
    ("office chair", "without armrests"),
    ("travel pillow", "with a washable cover"),
    ("fountain pen", "with a fine nib"),
    ("sleeping bag", "in the extra-wide version"),
    ("tea set", "for eight people"),
]
ORDER_ASK = [
    "Do you also sell the {item} {option}?",
    "I ordered the {item}, but I really wanted it {option}. Can I still change that?",
    "When will the {item} {option} be available again?",
    "I can't find the {item} {option} any more. Has it been discontinued?",
    "Could you put the {item} {option} aside for me until Friday?",
    "Is the {item} {option} on its way, or did you send me the standard one?",
]

FAULTS = [
    ("kettle", "leaks at the base"),
    ("floor lamp", "wobbles on a flat floor"),
    ("backpack", "has a torn strap"),
    ("blender", "smells burnt after a minute"),
    ("mirror", "came with a crack in one corner"),
    ("toaster", "only browns one side"),
    ("alarm clock", "loses ten minutes a day"),
    ("duvet", "is losing feathers"),
    ("suitcase", "is missing a wheel"),
    ("raincoat", "isn't waterproof at all"),
    ("electric drill", "stops as soon as it gets warm"),
    ("coffee grinder", "is much louder than my old one"),
    ("umbrella", "broke in the first breeze"),
    ("bread knife", "arrived with a bent blade"),
    ("wall clock", "doesn't tick"),
    ("desk fan", "rattles on the low setting"),
    ("water bottle", "tastes of plastic"),
    ("phone case", "doesn't fit my model"),
    ("tent", "is missing four pegs"),
    ("baking tray", "warped in the oven"),
    ("bath mat", "has faded in the first wash"),
    ("hand mixer", "has only one whisk in the box"),
    ("cushion cover", "came in grey instead of beige"),
    ("bike light", "switches itself off"),
]
FAULT_ASK = [
    "The {item} I bought from you {fault}. How do I send it back?",
    "My new {item} {fault}. Can I get a replacement?",
    "I bought a {item} last month and now I see that it {fault}. Is it covered?",
    "Hi, the {item} from my last order {fault}. Refund or exchange, what are my options?",
    "What can I do if the {item} {fault}?",
    "The {item} {fault}, and I threw the box away. Can I still return it?",
]

PLACES = [
    "Iceland",
    "the Canary Islands",
    "Switzerland",
    "northern Norway",
    "Cyprus",
    "Canada",
    "a military address",
    "the Scottish Highlands",
    "Japan",
    "a small village in the Alps",
    "New Zealand",
    "Malta",
    "Ireland",
    "Greenland",
    "South Korea",
    "a boat in a marina",
    "Madeira",
    "Singapore",
]
PLACE_ASK = [
    "Do you deliver to {place}?",
    "How much is shipping to {place}?",
    "How long does a parcel to {place} usually take?",
    "Can I send a birthday present to {place}, and can I track it?",
    "Which carrier brings parcels to {place}?",
    "I'm moving to {place} next month. Can I still order from you?",
]

CAPITALS = """
France Paris;Germany Berlin;Italy Rome;Spain Madrid;Portugal Lisbon;Austria Vienna
Belgium Brussels;Denmark Copenhagen;Sweden Stockholm;Norway Oslo;Finland Helsinki
Iceland Reykjavik;Greece Athens;Poland Warsaw;Hungary Budapest
Romania Bucharest;Bulgaria Sofia;Croatia Zagreb;Slovenia Ljubljana;Slovakia Bratislava
Estonia Tallinn;Latvia Riga;Lithuania Vilnius;Ukraine Kyiv|Kiev;Turkey Ankara;Egypt Cairo
Morocco Rabat;Kenya Nairobi;Ethiopia Addis Ababa;Ghana Accra;Nigeria Abuja;Senegal Dakar
Japan Tokyo;China Beijing;Thailand Bangkok;Vietnam Hanoi;India New Delhi|Delhi;Nepal Kathmandu
Australia Canberra;Canada Ottawa;Brazil Brasília|Brasilia;Argentina Buenos Aires;Peru Lima
Colombia Bogotá|Bogota;Ecuador Quito;Cuba Havana;Jamaica Kingston;Uruguay Montevideo
"""
CAPITAL_ASK = [
    "What is the capital of {country}?",
    "Which city is the capital of {country}?",
    "Can you tell me the capital city of {country}?",
    "For a crossword: what's the capital of {country}?",
    "Name the capital of {country}, please.",
    "If I wanted to see the capital of {country}, which city would I go to?",
    "quick question, what's {country}'s capital",
    "My daughter's homework asks for the capital of {country}. What is it?",
    "Which city is {country} governed from? I mean its capital.",
    "I always forget: what is {country}'s capital called?",
]

ELEMENTS = """
gold Au 79;silver Ag 47;iron Fe 26;copper Cu 29;sodium Na 11;potassium K 19;lead Pb 82
mercury Hg 80;tin Sn 50;zinc Zn 30;calcium Ca 20;magnesium Mg 12;oxygen O 8;hydrogen H 1
chlorine Cl 17;neon Ne 10;nickel Ni 28;silicon Si 14
"""
ELEMENT_ASK = [  # the question, and which of the fields (name, symbol, atomic number) answers it
    ("What is the chemical symbol for {0}?", 1),
    ("Which element has the symbol {1}?", 0),
    ("What's the atomic number of {0}?", 2),
    ("Which symbol does {0} have in the periodic table?", 1),
    ("In the periodic table, what does {1} stand for?", 0),
    ("Which element has {2} protons in its nucleus?", 0),
]

NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
SMALL = NUMBERS.split()
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number_answers(n: int) -> str:
    """Accepted answers for a whole number: digits, and words up to ninety-nine."""
    if not 0 <= n < 100:
        return str(n)
    if n < 20:
        return f"{n}|{SMALL[n]}"
    ten, one = TENS[n // 10], n % 10
    return f"{n}|{ten}-{SMALL[one]}|{ten} {SMALL[one]}" if one else f"{n}|{ten}"


def sums(rng: random.Random) -> list[tuple[str, int, tuple[int, ...]]]:
    """Return one sum of each kind: the question, its answer, and the numbers that it shows."""
    r = rng.randint
    a, b, c, d = r(11, 90), r(12, 99), r(3, 9), r(4, 15)
    hi, lo = max(a, b) + c, min(a, b)
    p, n = rng.choice([5, 10, 20, 25, 50, 75]), 20 * r(2, 30)
    start, step = r(2, 20), r(3, 9)
    seq = [start + i * step for i in range(4)]
    return [
        (f"What is {a} + {b}?", a + b, (a, b)),
        (f"What's {a} plus {b}?", a + b, (a, b)),
        (f"Can you add {a} and {b} for me?", a + b, (a, b)),
        (f"What do {a}, {b} and {d} add up to?", a + b + d, (a, b, d)),
        (f"What is {hi} - {lo}?", hi - lo, (hi, lo)),
        (f"What's {hi} minus {lo}?", hi - lo, (hi, lo)),
        (f"How much is left if I take {lo} away from {hi}?", hi - lo, (hi, lo)),
        (f"By how much is {hi} larger than {lo}?", hi - lo, (hi, lo)),
        (f"What is {d} times {c}?", d * c, (d, c)),
        (f"Calculate {a} x {c}.", a * c, (a, c)),
        (f"Could you multiply {a} by {d}?", a * d, (a, d)),
        (f"{d} * {d + c} = ?", d * (d + c), (d, d + c)),
        (f"Divide {c * d} by {c}, please.", d, (c * d, c)),
        (f"What is {d * d * c} divided by {d}?", d * c, (d * d * c, d)),
        (f"How many times does {c} go into {c * d}?", d, (c, c * d)),
        (f"What is {p}% of {n}?", p * n // 100, (p, n)),
        (f"How much is {p} percent of {n}?", p * n // 100, (p, n)),
        (f"What is {d} squared?", d * d, (d,)),
        (f"What's {c} cubed?", c**3, (c,)),
        (f"What's the square root of {d * d}?", d, (d * d,)),
        (f"What is half of {2 * a}?", a, (2 * a,)),
        (f"What's double {b}?", 2 * b, (b,)),
        (f"What is a third of {3 * d}?", d, (3 * d,)),
        (f"What is the remainder when {a} is divided by {c}?", a % c, (a, c)),
        (f"What is {d} + {c} x {step}?", d + c * step, (d, c, step)),
        (f"Work out ({d} + {c}) x {step}.", (d + c) * step, (d, c, step)),
        (
            f"Which number comes next: {', '.join(map(str, seq))}?",
            start + 4 * step,
            tuple(seq),
        ),
        (f"What is the average of {a} and {a + 2 * c}?", a + c, (a, a + 2 * c)),
        (
            f"I bought {c} notebooks at {d} euros each. How much did I pay in total?",
            c * d,
            (c, d),
        ),
        (
            f"My lunch costs {d} euros and I pay with a 50 euro note. "
            "How many euros do I get back?",
            50 - d,
            (d, 50),
        ),
        (
            f"If {c} children share {c * d} sweets equally, how many does each child get?",
            d,
            (c, c * d),
        ),
        (f"I read {a} pages a day. How many pages is that in {d} days?", a * d, (a, d)),
        (
            f"There are {d} rows of {d + c} chairs in the hall. How many chairs is that?",
            d * (d + c),
            (d, d + c),
        ),
        (
            f"A bakery sold {a} loaves before noon and {b} after. How many loaves in all?",
            a + b,
            (a, b),
        ),
        (
            f"Our year has {hi} pupils and {lo} are on a trip. How many are still here?",
            hi - lo,
            (hi, lo),
        ),
        (
            f"A jacket costs {n} euros and is now {p}% off. How many euros do I save?",
            p * n // 100,
            (n, p),
        ),
    ]


def arithmetic(rng: random.Random) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Yield sums without end, all kinds equally often, each from numbers of its own."""
    kinds = list(range(len(sums(rng))))
    while True:
        rng.shuffle(kinds)
        for kind in kinds:
            yield sums(rng)[kind]


def listed() -> Iterator[tuple[str, str, str]]:
    """Yield the written questions as (question, topic, expected)."""
    for topic, block in QUESTIONS.items():
        for line in block.strip().splitlines():
            question, _, expected = line.partition(" => ")
            yield question, topic, expected


def composed() -> Iterator[tuple[str, str, str]]:
    """Yield the questions put together from a phrase and a thing, each thing once."""
    for i, (item, option) in enumerate(ORDER_ITEMS):
        yield ORDER_ASK[i % len(ORDER_ASK)].format(item=item, option=option), "orders", ""
    for i, (item, fault) in enumerate(FAULTS):
        yield FAULT_ASK[i % len(FAULT_ASK)].format(item=item, fault=fault), "returns", ""
    for i, place in enumerate(PLACES):
        yield PLACE_ASK[i % len(PLACE_ASK)].format(place=place), "shipping", ""
    for i, pair in enumerate(CAPITALS.strip().replace("\n", ";").split(";")):
        country, _, capital = pair.partition(" ")
        ask = CAPITAL_ASK[i % len(CAPITAL_ASK)]
        yield ask.format(country=country), "geography", capital
    for i, element in enumerate(ELEMENTS.strip().replace("\n", ";").split(";")):
        fields = element.split(" ")
        ask, answer = ELEMENT_ASK[i % len(ELEMENT_ASK)]
        expected = number_answers(int(fields[2])) if answer == 2 else fields[answer]
        yield ask.format(*fields), "science", expected


def build() -> list[tuple[str, str, str]]:
    """Return all rows as (question, topic, expected), the four fixed ones first.

    Raises ValueError if two questions are the same apart from case, or the counts are off.
    """
    rng = random.Random(SEED)
    rows = [*listed(), *composed()]
    seen = {question.casefold() for question, _, _ in [*FIRST, *rows]}
    if len(seen) != len(FIRST) + len(rows):
        raise ValueError("two written questions are the same")
    missing = ROWS - len(seen)
    if not 100 <= missing < 200:
        raise ValueError(f"{missing} rows are left for arithmetic; 100 to 199 are wanted")
    for question, answer, shown in arithmetic(rng):
        # An answer that the question shows already could be matched by repeating the question.
        if question.casefold() in seen or answer in shown:
            continue
        seen.add(question.casefold())
        rows.append((question, "arithmetic", number_answers(answer)))
        if len(seen) == ROWS:
            break
    rng.shuffle(rows)
    return [*FIRST, *rows]


def main() -> None:
    """Write the CSV (UTF-8, LF line ends)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("faq.csv"))
    out = parser.parse_args().out
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "question", "topic", "expected"])
    writer.writerows((i, *row) for i, row in enumerate(build()))
    out.write_bytes(text.getvalue().encode("utf-8"))
    print(f"{ROWS} questions written to {out}")


if __name__ == "__main__":
    main()
